"""The settings of a training, from flags and YAML: resolved, and validated before anything is built."""

import argparse
import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from project.callbacks.user_callbacks import stop_timers_after_epochs
from project.config.trust import require_known
from project.config.yaml import with_full_paths, with_plain_values, yaml_of
from project.data.datamodule import RowsDataModule
from project.runs.checkpoint import DATA_KEY, read_checkpoint, saved_config
from project.runs.checkpoint_checks import check_progress
from project.runs.folder import LAST, ROOT, find_checkpoint, run_name
from project.runs.resume import ResumePoint, restarted_run, resume_point
from project.runs.weights import is_text, pretrained_facts, resolve_last
from project.runtime.address import is_remote, local_path
from project.training.flags import check_flags, check_name, remaining_defaults
from project.training.plain_code import default_optimizer, has_own_optimizer


class Settings(NamedTuple):
    """The settings of a training.

    Attributes:
        parser: The parser of the flags, which also builds the objects that a configuration describes.
        argv: The command line.
        config: The complete configuration.
        resumed: The point from which training continues.
        allowed: Names of the settings that may differ from those of the resumed run.
        facts: Facts about the data of the run that is resumed or opened, as its checkpoint records them; else empty.
        folder: Folder of the run, if `--name` names one; None for the next `version_N`.
    """

    parser: ArgumentParser
    argv: Sequence[str]
    config: Namespace
    resumed: ResumePoint
    allowed: Sequence[str]
    facts: Mapping[str, Any] = MappingProxyType({})
    folder: Path | None = None

    def yaml(self) -> str:
        """Return the complete configuration; training with it reproduces the run."""
        return self.parser.dump(with_plain_values(with_full_paths(self.config)), skip_unset=False, skip_validation=True)

    def known_facts(self) -> Mapping[str, Any]:
        """Return facts about the data whose schema the rows must have: those of the run, of its weights or teacher."""
        if self.facts or self.resumed.checkpoint is not None:
            return self.facts
        if (facts := pretrained_facts(self.config.weights.path)).get("fields") is not None:
            return facts
        facts = pretrained_facts(self.config.model.get("init_args", {}).get("teacher") or None)
        return facts if is_text(facts.get("fields") or []) else {}  # a student must use its teacher's tokenizer


def resolve(argv: Sequence[str], parser: ArgumentParser, configs: Sequence[Mapping[str, Any]] = ()) -> Settings:
    """Return the settings that a command line stands for, on top of configurations, each of which overrides the last.

    A resumed run brings its own configuration, which the configurations and the command line override.
    """
    scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    scan.add_argument("--ckpt_path")
    scan.add_argument("--trainer.default_root_dir", dest="root", default=".")
    scanned, others = scan.parse_known_args(argv)
    given = {key: value for config in configs for key, value in config.items()} | yaml_of(argv)
    parser.set_defaults(defaults := remaining_defaults(others, given))
    root = local_path(scanned.root) / ROOT
    if reference := scanned.ckpt_path or given.get("ckpt_path"):
        settings = _resume(find_checkpoint(reference, LAST, root), argv, parser, configs)
    else:
        # The arguments of a class that the data suggests do not fit the default class; --print_config ends the process.
        sections = [section for section in ("model", "optimizer") if section in defaults]
        others = [*_without([*sections, "print_config"], argv)]
        config = _parse(parser, others, *configs)
        from_data = _defaults_of_data(config, defaults)
        parser.set_defaults(from_data)
        if from_data or others != list(argv):
            config = _parse(parser, argv, *configs)
        if from_net := _defaults_of_net(config, defaults):
            parser.set_defaults(from_net)
            config = _parse(parser, argv, *configs)
        settings = Settings(parser, argv, config, ResumePoint(), [])
        resolve_last(settings.config, root)
        settings = settings._replace(folder=_take_name(config, root))
        settings.config.config = None  # as in the saved configuration that it is compared with
        if (restarted := restarted_run(root, settings.yaml)) is not None:
            settings = _resume(restarted, argv, parser, configs)
            settings.config.name = None
    config = settings.config
    if config.trainer.default_root_dir and not is_remote(config.trainer.default_root_dir):
        config.trainer.default_root_dir = str(local_path(config.trainer.default_root_dir))
    stop_timers_after_epochs(config.trainer)
    if "optimizer" in defaults and has_own_optimizer(config.model.class_path):
        config.optimizer = None
    allowed, config.resume.allow = config.resume.allow, []
    config.config = config.ckpt_path = config.lifecycle = None
    return settings._replace(allowed=allowed, folder=settings.folder or _take_name(config, root))


def validate(settings: Settings) -> None:
    """Raise a UserError if settings contradict each other, or name a class that a configuration may not import."""
    resumed = settings.resumed.checkpoint is not None
    check_flags(settings.config, settings.argv, settings.allowed, resumed)
    if settings.folder is not None:
        check_name(settings.folder, settings.config.trainer.logger, resumed)
    require_known(settings.config)


def _take_name(config: Namespace, root: Path) -> Path | None:
    """Return the folder that `--name` names, and remove the name: other runs may use the configuration, too."""
    name, config.name = config.name, None
    return None if name is None else root.absolute() / run_name(name)


def _defaults_of_data(config: Namespace, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults that depend on the data: the model, its optimizer and the number of epochs."""
    data, suited = pkgutil.resolve_name(config.data.class_path), dict[str, Any]()
    if not issubclass(data, RowsDataModule):
        data = RowsDataModule
    model = data.default_model(config.data.init_args.as_dict()) if "model" in defaults else config.model.class_path
    if model != config.model.class_path:
        suited["model"] = {"class_path": model}
    if "model" in defaults and data.default_net is not None:
        suited["model"] = {"class_path": model, "init_args": {"net": {"class_path": data.default_net}}}
    if "optimizer" in defaults and (optimizer := data.default_optimizer or default_optimizer(model)) is not None:
        suited["optimizer"] = dict(optimizer)
    epochs = defaults.get("trainer.max_epochs", data.default_epochs)
    if epochs != data.default_epochs and config.trainer.max_steps == -1:
        suited["trainer.max_epochs"] = data.default_epochs
    return suited


def _defaults_of_net(config: Namespace, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults that depend on the network: optimizer, scheduler and number of epochs."""
    net = (config.model.get("init_args") or {}).get("net")
    chosen = pkgutil.resolve_name(net.class_path) if isinstance(net, Namespace) and "class_path" in net else None
    if "optimizer" not in defaults or config.lr_scheduler is not None or config.trainer.max_steps != -1:
        return {}
    suited = dict(getattr(chosen, "default_training", None) or {})
    return {key: value for key, value in suited.items() if key != "trainer.max_epochs" or key in defaults}


def _without(sections: Sequence[str], argv: Sequence[str]) -> Iterator[str]:
    """Yield the flags outside of some sections, with their values."""
    kept = True
    for arg in argv:
        if arg.startswith("--"):
            kept = re.split(r"[.=+]", arg[2:])[0] not in sections
        if kept:
            yield arg


def _parse(parser: ArgumentParser, args: Sequence[str], *configs: Mapping[str, Any]) -> Namespace:
    """Parse args that override configurations, each of which overrides those before it."""
    base = None
    for config in configs:
        base = parser.parse_object(dict(config), namespace=base, defaults=False)
    return parser.parse_args(args, namespace=base)


def _resume(path: Path, argv: Sequence[str], parser: ArgumentParser, configs: Sequence[Mapping[str, Any]]) -> Settings:
    checkpoint = read_checkpoint(path)
    check_progress(str(path), checkpoint)
    saved = saved_config(path, checkpoint)
    config = _parse(parser, argv, saved, *configs)
    resumed = resume_point(path, checkpoint, _parse(parser, [], saved), config)
    return Settings(parser, argv, config, resumed, [], checkpoint[DATA_KEY])

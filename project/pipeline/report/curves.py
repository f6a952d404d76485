"""Learning curves of a chain's runs, as TensorBoard has them."""

import logging

from project.pipeline.record import Pipeline

TAG = "val/loss"
Curves = dict[str, list[float]]


def learning_curves(chain: Pipeline) -> Curves:
    """The validation loss after each epoch, of each run that has logged it to TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # a run that was resumed has points that came twice
    curves: Curves = {}
    for done in chain.done:
        if not done.model or not chain.path(done).is_dir():
            continue
        events = EventAccumulator(str(chain.path(done)), size_guidance={"scalars": 0}).Reload()
        if TAG in events.Tags()["scalars"]:
            curves[done.name] = [point.value for point in events.Scalars(TAG)]
    return curves

"""Flags and values of other programs, and what to type instead."""

# For each flag with a placeholder, what users type instead of it. The user's value replaces the placeholder.
HABITS = {
    "--trainer.max_epochs N": "e epochs epoch n_epochs num_epochs nb_epochs max_epochs max_epoch",
    "--trainer.max_steps N": "steps max_steps num_steps",
    "--trainer.devices N": "devices num_devices",
    "--trainer.accelerator gpu --trainer.devices 1": "gpus gpu num_gpus n_gpus ngpus",
    "--trainer.accelerator NAME": "accelerator device",
    "--trainer.accelerator gpu": "cuda",
    "--trainer.accelerator cpu": "cpu no_cuda",
    "--trainer.precision 16-mixed": "precision fp16 amp",
    "--trainer.default_root_dir FOLDER": "output output_dir out out_dir log_dir logdir save_dir default_root_dir",
    "--trainer.gradient_clip_val VALUE": "clip grad_clip gradient_clip_val max_grad_norm",
    "--trainer.callbacks EarlyStopping --trainer.callbacks.monitor val/loss "
    "--trainer.callbacks.patience N": "patience early_stopping",
    "--trainer.fast_dev_run true": "fast_dev_run dry_run",
    "--seed_everything N": "seed random_seed random_state",
    "--ckpt_path last": "resume",
    "--ckpt_path RUN": "ckpt checkpoint checkpoint_path resume_from resume_from_checkpoint",
    "--weights.path RUN": "weights pretrained init_from load",
    "--optimizer NAME": "optim opt optimizer.name model.optimizer",
    "--optimizer.lr RATE": "lr learning_rate",
    "--optimizer.weight_decay FACTOR": "weight_decay wd",
    "--lr_scheduler NAME": "scheduler sched lr_schedule model.lr_scheduler",
    "--model.loss NAME": "loss criterion loss_fn",
    "--model.net NAME": "net network arch architecture",
    "--model.net.hidden SIZES": "hidden hidden_size hidden_dim",
    "--model.net.dropout PROBABILITY": "dropout",
    "--data.batch_size ROWS": "batch_size batch bs b",
    "--data.num_workers N": "workers num_workers",
    "--data.path FILE": "csv file table path data_path dataset train_data train_file input",
    "--data.target COLUMN": "target targets label label_column target_column y",
    "--data.task NAME": "task",
    "--data.weights COLUMN": "sample_weight sample_weights row_weights weight_column",
    "--model Classification --model.threshold PROBABILITY": "threshold decision_threshold",
    "--model.loss CrossEntropyLoss --model.loss.weight WEIGHTS": "class_weight class_weights",
    "--trainer.enable_progress_bar true": "verbose v progress progress_bar",
    "--trainer.enable_progress_bar false": "quiet silent q",
    "--epoch_line.every_n_epochs N": "log_every print_every log_interval",
    "--data.features NAMES": "features columns feature_columns",
}
TYPED = {name: template for template, names in HABITS.items() for name in names.split()}
SPELLINGS = {
    "--trainer.precision": {"16": "16-mixed", "fp16": "16-mixed", "half": "16-mixed", "bf16": "bf16-mixed"},
    "--trainer.accelerator": {"cuda": "gpu", "cuda:0": "gpu"},
    "--trainer.enable_progress_bar": {"0": "false", "1": "true", "2": "true"},
}

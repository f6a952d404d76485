"""The whole life cycle as one chain of stages: what it is to be, what each stage does, what it came to."""

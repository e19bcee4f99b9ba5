"""An ML pipeline: preprocess, train with checkpoints, evaluate, deploy, and roll back."""

"""The training loop, and fine-tuning of networks on users' labelled volumes."""

"""Training: the loop, and fine-tuning on users' own labelled volumes."""

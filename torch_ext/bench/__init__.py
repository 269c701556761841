"""What things cost, beside PyTorch's own: measured in one run, in turns."""

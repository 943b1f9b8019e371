"""What a camera on the network costs: how old a result is, and how long files last."""

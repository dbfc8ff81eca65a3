"""What do a model's layers receive? Calibration texts, passes block by block, and statistics of inputs."""

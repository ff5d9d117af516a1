"""What every request passes through: context, authentication, limits, problems, metrics, logs."""

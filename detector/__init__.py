"""detector: LiDAR points in, boxes of cars, people and cyclists out."""

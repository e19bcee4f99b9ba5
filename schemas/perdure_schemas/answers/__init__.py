"""What is made of answers: lists of many partitions, and points of histories. Pure functions."""

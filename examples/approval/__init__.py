"""A person approves: an activity that is completed from elsewhere."""

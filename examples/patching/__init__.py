"""Changing workflow code while its runs are open, in three deploys."""

"""Trajectories by a teacher: what it is asked, how its reply is read, and the run around both."""

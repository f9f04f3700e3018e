"""A ROS 2 node. Nothing of ROS is imported before the node is run."""

"""The ROS 2 node beside a node as Nav2's tutorial shows one: latency, cost, and hours of it. Runs where rclpy is."""

"""A camera and its cloud, in a process of their own: 20 images a second until it is told to end."""

import signal
import sys
import time

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2

from fastscnn.model.street import Street

height, width, cloud_height, cloud_width = map(int, sys.argv[1:])
going = True


def stop(*_: object) -> None:
    global going
    going = False


rclpy.init()
signal.signal(signal.SIGINT, stop)
node = rclpy.create_node("camera")
images = node.create_publisher(Image, "image", QoSProfile(depth=1))
clouds = node.create_publisher(PointCloud2, "cloud", qos_profile_sensor_data)
street = Street(height, width, seed=3)
frames = [np.ascontiguousarray(street.frame(index)[0]) for index in range(0, 40, 8)]
message = Image(height=height, width=width, encoding="bgr8", step=width * 3)
cloud = PointCloud2(height=cloud_height, width=cloud_width, point_step=16, row_step=16 * cloud_width)
message.header.frame_id = cloud.header.frame_id = "front_camera_optical"
count = 0
while going:
    message.header.stamp = cloud.header.stamp = node.get_clock().now().to_msg()
    message.data = frames[count % len(frames)].tobytes()
    images.publish(message)
    clouds.publish(cloud)
    count += 1
    time.sleep(0.05)
node.destroy_node()
rclpy.try_shutdown()

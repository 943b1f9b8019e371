"""Reads one mask through Eclipse Cyclone DDS, with types written out here and no ROS, and prints what it found."""

import json
import os
import time
from dataclasses import dataclass

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import int32, sequence, uint8, uint32
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration


@dataclass
class Time(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    sec: int32
    nanosec: uint32


@dataclass
class Header(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    stamp: Time
    frame_id: str


@dataclass
class Image(IdlStruct, typename="sensor_msgs::msg::dds_::Image_"):
    header: Header
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


participant = DomainParticipant(int(os.environ["ROS_DOMAIN_ID"]))
qos = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.History.KeepLast(5))
reader = DataReader(participant, Topic(participant, "rt/segmentation/mask", Image, qos=qos), qos=qos)
end = time.monotonic() + 90
while time.monotonic() < end:
    for sample in reader.take(5):
        if isinstance(sample, Image):
            found = {name: getattr(sample, name) for name in ("height", "width", "encoding", "step")}
            found |= {"frame_id": sample.header.frame_id, "nanosec": sample.header.stamp.nanosec}
            print(json.dumps(found | {"sum": sum(sample.data)}), flush=True)
            raise SystemExit(0)
    time.sleep(0.05)

"""An RTSP camera for tests, of GStreamer's own server: python rtsp_server.py PORT. Says "ready" once it listens."""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=160,height=120,framerate=10/1 ! "
    "jpegenc ! rtpjpegpay name=pay0 pt=26 )"  # JPEG over RTP is 4:2:0
)
factory.set_shared(True)
server.get_mount_points().add_factory("/camera", factory)
if not server.attach(None):
    sys.exit("the port is taken")
sys.stdout.write("ready\n")
sys.stdout.flush()
GLib.MainLoop().run()

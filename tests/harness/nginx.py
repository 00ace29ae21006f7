"""An nginx that answers every request alike, for what it makes of the request itself; or does what else `locations` say."""
import os
import pwd
import subprocess

from harness.daemon import accepts, free_port
from harness.waiting import wait_until

CONFIGURATION = """
user {user};
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    lingering_timeout 2s;
    client_body_temp_path {directory}/temp;
    proxy_temp_path {directory}/temp;
    fastcgi_temp_path {directory}/temp;
    uwsgi_temp_path {directory}/temp;
    scgi_temp_path {directory}/temp;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""

ALIKE = """location / { return 200 '{"msg": "hello world"}'; }
        location = /healthz { return 200 '{"status": "ok"}'; }"""


class Nginx:
    def __init__(self, directory, locations=ALIKE):
        directory.mkdir()
        port, path = free_port(), directory / "nginx.conf"
        self.address = ("127.0.0.1", port)
        path.write_text(CONFIGURATION.format(user=pwd.getpwuid(os.getuid()).pw_name, directory=directory, port=port, locations=locations))
        self.process = subprocess.Popen(["nginx", "-p", directory, "-c", path], stdin=subprocess.DEVNULL)
        wait_until(lambda: accepts(self.address), "nginx")

    def close(self):
        self.process.terminate()
        self.process.wait()

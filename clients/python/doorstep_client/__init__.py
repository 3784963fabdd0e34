"""Client of the Doorstep hub: a core without I/O, and shells that carry it over real sockets."""

from doorstep_client.ping_buffer import Fix
from doorstep_client.protocol import ClientProtocol, State
from doorstep_client.settings import ClientSettings, Encoding

__all__ = ["ClientProtocol", "ClientSettings", "Encoding", "Fix", "State"]

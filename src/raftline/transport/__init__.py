"""Bytes between nodes: frames, codec, addresses, and TCP links that drop rather than block.

Start at `tcp.TcpTransport`; `frame` and `codec` are what the wire format is, `peer_link` is the way out and `listener`
the way in.
"""

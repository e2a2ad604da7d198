"""The gateway's answers: those of their fields that commands use.

``reading.read`` makes an object of an answer's JSON value. Unknown fields are ignored and missing ones have
defaults, so that a newer or older gateway can be asked. Times are in seconds since the epoch, sizes in bytes.
"""

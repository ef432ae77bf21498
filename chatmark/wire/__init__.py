"""The wire: JSON bytes to and from values. No I/O."""

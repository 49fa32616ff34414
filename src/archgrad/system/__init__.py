"""Devices, processes, memory and interruptions: what the machine gives."""

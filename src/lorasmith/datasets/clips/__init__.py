"""Clips: videos and animated pictures, measured when they come, read frame by frame, and written again.

Videos are decoded by ffmpeg, a program of its own that is started and never linked (``program.py``); animated
pictures by Pillow. Frames come out upright, RGB, one after another, so that a long video is never held whole.
"""

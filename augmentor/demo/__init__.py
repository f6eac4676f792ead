"""The guided demonstration on drawn portraits, with the shipped model."""

from augmentor.demo.run import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]

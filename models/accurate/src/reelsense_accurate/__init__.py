"""The accurate model of reelsense. The folder `bundle` has it: `Classifier.load("accurate")`."""

__version__ = "0.1.0"

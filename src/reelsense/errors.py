"""Every error that reelsense raises on purpose.

ReelsenseError
├── InputError           a value from the user that cannot be used
│   └── TextError        one of several texts cannot be scored; knows which
├── NoJobError           there is no job of that name, or no longer
├── JobStateError        a job is not in the state for what is asked
├── LostJobError         a job was cancelled, deleted or taken over while it was being worked on
├── StoreError           what is kept between restarts cannot be read or written
├── ClusterError         the machines that are to share the work cannot be used
├── DatasetError         a dataset is missing, damaged or not what it should be
│   └── DownloadError    something could not be fetched; says what to pass instead
├── BundleError          a model folder is incomplete, changed or too new
├── RecipeError          a recipe names an unknown or ill-typed setting
├── TrainingError        a training run or an export cannot go on
│   └── StoppedError     the user interrupted a training run; its state is saved
├── SettingsError        a setting of the server is unknown or ill-typed
├── DeadlineError        a call's time is up before its answer was there
├── AbandonedError       nobody waits for the answer of a call any more
├── OverloadedError      there is more to do than can be done in time; knows when to come back
│   └── TooManyJobsError as many jobs are kept, or being taken in, as may be
├── NotReadyError        the model is not loaded yet, or is shutting down
└── MissingExtraError    an optional part is not installed; names the pip command

Knows no HTTP and no exit codes: the server and the command line each map these.
"""

from __future__ import annotations


class ReelsenseError(Exception):
    """The root: catch this to catch everything reelsense raises on purpose."""


class InputError(ReelsenseError, ValueError):
    """A value from the user that cannot be used."""


class TextError(InputError):
    """One of several texts cannot be scored: the one at `position`, counted from 0."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"text {position} {reason}")
        self.position, self.reason = position, reason

    def __reduce__(self) -> tuple[type[TextError], tuple[int, str]]:
        """Travel between processes; an exception is made anew of its message alone otherwise."""
        return type(self), (self.position, self.reason)


class NoJobError(ReelsenseError, LookupError):
    """There is no job of that name, or no longer."""


class JobStateError(ReelsenseError):
    """A job is not in the state for what is asked."""


class LostJobError(ReelsenseError):
    """A job was cancelled, deleted or taken over while it was being worked on."""


class StoreError(ReelsenseError):
    """What is kept between restarts cannot be read or written."""


class ClusterError(ReelsenseError):
    """The machines that are to share the work cannot be used."""


class DatasetError(ReelsenseError):
    """A dataset is missing, damaged or not what it should be."""


class DownloadError(DatasetError):
    """Something could not be fetched. The message says what to pass instead."""


class BundleError(ReelsenseError):
    """A model folder is incomplete, was changed, or is newer than this version reads."""


class RecipeError(ReelsenseError, ValueError):
    """A recipe names an unknown or ill-typed setting."""


class TrainingError(ReelsenseError):
    """A training run or an export cannot go on."""


class StoppedError(TrainingError):
    """The user interrupted a training run. Its state is saved."""


class SettingsError(ReelsenseError, ValueError):
    """A setting of the server is unknown or ill-typed. The message says where it was set."""


class DeadlineError(ReelsenseError, TimeoutError):
    """A call's time is up before its answer was there."""


class AbandonedError(ReelsenseError):
    """Nobody waits for the answer of a call any more."""


class OverloadedError(ReelsenseError):
    """There is more to do than can be done in time. Come back in `retry_after` seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[OverloadedError], tuple[str, int]]:
        """Travel between processes, as TextError does."""
        return type(self), (str(self), self.retry_after)


class TooManyJobsError(OverloadedError):
    """As many jobs are kept, or being taken in, as may be."""


class NotReadyError(ReelsenseError):
    """The model is not loaded yet, or is shutting down."""


class MissingExtraError(ReelsenseError, ImportError):
    """An optional part is not installed. The message names the pip command."""

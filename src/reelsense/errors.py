"""The errors that reelsense raises on purpose, each with a stable code.

ReelsenseError
├── InputError           a value from the user is invalid
│   └── TextError        one of several texts cannot be scored; knows its position
├── NoJobError           the job does not exist or was deleted
├── JobStateError        the job is in the wrong state for the requested operation
├── LostJobError         the job was cancelled, deleted or taken over during the work on it
├── StoreError           the database of jobs cannot be read or written
├── ClusterError         the cluster cannot be used
├── DatasetError         a dataset or table is missing, damaged or malformed
│   └── DownloadError    a download failed; the message names the alternative
├── BundleError          a bundle is incomplete, changed or too new
├── RecipeError          a recipe has an unknown or invalid setting
├── TrainingError        a training run or an export cannot continue
│   └── StoppedError     the user interrupted a training run; its state is saved
├── SettingsError        a setting of the server is unknown or invalid
├── DeadlineError        the deadline of a call has passed
├── AbandonedError       the caller of a call has gone
├── OverloadedError      the server is at capacity; knows when to try again
│   └── TooManyJobsError the limit of jobs or uploads is reached
├── NotReadyError        the model is not loaded yet, or the server is shutting down
└── MissingExtraError    an optional dependency is not installed; names the pip command

Does not know HTTP or exit codes: the server and the command line map these errors.
"""

from __future__ import annotations


class ReelsenseError(Exception):
    """Base class: catch it to catch every error that reelsense raises on purpose."""

    code = "error"
    """Stable identifier. A class has a general one; an error may have a more specific one."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        """Create the error.

        Args:
            message: What is wrong (with the value), what is expected, and what to do.
            code: A more specific code than that of the class.
        """
        super().__init__(message)
        if code is not None:
            self.code = code


class InputError(ReelsenseError, ValueError):
    """A value from the user is invalid."""

    code = "invalid-input"


class TextError(InputError):
    """One of several texts cannot be scored: the one at `position`, counted from 0."""

    code = "invalid-text"

    def __init__(self, position: int, reason: str, *, code: str | None = None) -> None:
        """Create the error of the text at `position`; `reason` continues "text N ..."."""
        super().__init__(f"text {position} {reason}", code=code)
        self.position, self.reason = position, reason

    def __reduce__(self) -> tuple[type[TextError], tuple[int, str], dict[str, object]]:
        """Support pickling: by default an exception is rebuilt from its message alone."""
        return type(self), (self.position, self.reason), self.__dict__


class NoJobError(ReelsenseError, LookupError):
    """The job does not exist or was deleted."""

    code = "no-such-job"


class JobStateError(ReelsenseError):
    """The job is in the wrong state for the requested operation."""

    code = "wrong-job-state"


class LostJobError(ReelsenseError):
    """The job was cancelled, deleted or taken over during the work on it."""

    code = "job-lost"


class StoreError(ReelsenseError):
    """The database of jobs cannot be read or written."""

    code = "storage"


class ClusterError(ReelsenseError):
    """The cluster cannot be used."""

    code = "cluster"


class DatasetError(ReelsenseError):
    """A dataset or table is missing, damaged or malformed."""

    code = "invalid-data"


class DownloadError(DatasetError):
    """A download failed. The message names the alternative."""

    code = "download-failed"


class BundleError(ReelsenseError):
    """A bundle is incomplete, was changed, or is too new for this version."""

    code = "invalid-bundle"


class RecipeError(ReelsenseError, ValueError):
    """A recipe has an unknown or invalid setting."""

    code = "invalid-recipe"


class TrainingError(ReelsenseError):
    """A training run or an export cannot continue."""

    code = "training"


class StoppedError(TrainingError):
    """The user interrupted a training run. Its state is saved."""

    code = "stopped"


class SettingsError(ReelsenseError, ValueError):
    """A setting of the server is unknown or invalid. The message says where it was set."""

    code = "invalid-setting"


class DeadlineError(ReelsenseError, TimeoutError):
    """The deadline of a call has passed."""

    code = "deadline-exceeded"


class AbandonedError(ReelsenseError):
    """The caller of a call has gone."""

    code = "abandoned"


class OverloadedError(ReelsenseError):
    """The server is at capacity. Try again after `retry_after` seconds."""

    code = "overloaded"

    def __init__(self, message: str, retry_after: int) -> None:
        """Create the error; `retry_after` is in seconds."""
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[OverloadedError], tuple[str, int]]:
        """Support pickling, as in `TextError`."""
        return type(self), (str(self), self.retry_after)


class TooManyJobsError(OverloadedError):
    """The limit of jobs or uploads is reached."""

    code = "too-many-jobs"


class NotReadyError(ReelsenseError):
    """The model is not loaded yet, or the server is shutting down."""

    code = "not-ready"


class MissingExtraError(ReelsenseError, ImportError):
    """An optional dependency is not installed. The message names the pip command."""

    code = "missing-extra"

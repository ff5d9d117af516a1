"""Errors that reelsense raises, each with a stable code.

Does not know HTTP or exit codes: the server and the command line map these errors to them.
"""

from __future__ import annotations


class ReelsenseError(Exception):
    """Base class of all errors that reelsense raises."""

    code = "error"
    """Stable identifier: that of the class, or a more specific one of the error."""

    def __init_subclass__(cls, *, code: str | None = None) -> None:
        super().__init_subclass__()
        if code is not None:
            cls.code = code

    def __init__(self, message: str, *, code: str | None = None) -> None:
        """Create the error.

        Args:
            message: What is wrong (with the value), what is expected, and what to do.
            code: A more specific code than that of the class.
        """
        super().__init__(message)
        if code is not None:
            self.code = code


class InputError(ReelsenseError, ValueError, code="invalid-input"):
    """A value from the user is invalid."""


class TextError(InputError, code="invalid-text"):
    """A text cannot be scored: the one at `position` (from 0) of those passed to a call."""

    def __init__(self, position: int, reason: str, *, code: str | None = None) -> None:
        """Create the error of the text at `position`; `reason` continues "text N ..."."""
        super().__init__(f"text {position} {reason}", code=code)
        self.position, self.reason = position, reason

    def __reduce__(self) -> tuple[type[TextError], tuple[int, str], dict[str, object]]:
        """Support pickling: by default, an exception is created from its message alone."""
        return type(self), (self.position, self.reason), self.__dict__


class NoJobError(ReelsenseError, LookupError, code="no-such-job"):
    """The job does not exist or was deleted."""


class JobStateError(ReelsenseError, code="wrong-job-state"):
    """The job is in the wrong state for the requested operation."""


class LostJobError(ReelsenseError, code="job-lost"):
    """The job was cancelled, deleted or taken over during the work on it."""


class ModelGoneError(ReelsenseError, code="model-gone"):
    """No server has the model that a job needs any more."""


class StoreError(ReelsenseError, code="storage"):
    """The database cannot be read or written."""


class FeedbackError(ReelsenseError, code="invalid-feedback"):
    """Feedback cannot be stored."""


class NoModelError(ReelsenseError, LookupError, code="no-such-model"):
    """The server has no model of that name."""


class NoPredictionError(FeedbackError, LookupError, code="no-such-prediction"):
    """The prediction that feedback refers to is not stored."""


class ClusterError(ReelsenseError, code="cluster"):
    """The cluster cannot be used."""


class DatasetError(ReelsenseError, code="invalid-data"):
    """A dataset or table is missing, damaged or malformed."""


class DownloadError(DatasetError, code="download-failed"):
    """A download failed. The message names the alternative."""


class BundleError(ReelsenseError, code="invalid-bundle"):
    """A bundle is incomplete, was changed or is too new for this version."""


class ModelDirectoryError(ReelsenseError, code="model-directory"):
    """A directory of model versions cannot be used as requested."""


class HubError(ReelsenseError, code="hub"):
    """An exchange with the Hugging Face hub failed."""


class RecipeError(ReelsenseError, ValueError, code="invalid-recipe"):
    """A recipe has an unknown or invalid setting."""


class TrainingError(ReelsenseError, code="training"):
    """A training run or an export cannot continue."""


class StoppedError(TrainingError, code="stopped"):
    """The user interrupted a training run. Its state is saved."""


class SettingsError(ReelsenseError, ValueError, code="invalid-setting"):
    """A setting of the server is unknown or invalid. The message says where it was set."""


class DeadlineError(ReelsenseError, TimeoutError, code="deadline-exceeded"):
    """The deadline of a call has passed."""


class AbandonedError(ReelsenseError, code="abandoned"):
    """The call was cancelled because its caller disconnected."""


class OverloadedError(ReelsenseError, code="overloaded"):
    """The server is at capacity. Try again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        """Create the error; `retry_after` is in seconds."""
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[OverloadedError], tuple[str, int]]:
        """Support pickling, as in `TextError`."""
        return type(self), (str(self), self.retry_after)


class TooManyJobsError(OverloadedError, code="too-many-jobs"):
    """The limit of jobs or uploads is reached."""


class StorageLimitError(ReelsenseError, code="storage-limit"):
    """The limit of stored bytes is reached."""


class NotReadyError(ReelsenseError, code="not-ready"):
    """The model is not loaded yet, or the server is shutting down."""


class MissingExtraError(ReelsenseError, ImportError, code="missing-extra"):
    """An optional dependency is not installed. The message names the pip command."""

"""What tests that call MLflow's client share."""

import pytest
from mlflow.exceptions import MlflowException


def error_code(call, *args, **kwargs):
    """The error code of a call that has to fail."""
    with pytest.raises(MlflowException) as caught:
        call(*args, **kwargs)
    return caught.value.error_code

"""Results of Prefect 1.x tasks in plain files, loaded instead of computed again."""

import prefect

from prefect_ds.acceptance import Accepted, accept
from prefect_ds.events import Events, read_events
from prefect_ds.explanation import Explanation, explain
from prefect_ds.file_result_handler import FileResultHandler
from prefect_ds.flow_runner import DSFlowRunner
from prefect_ds.listing.checkpoints import Checkpoints
from prefect_ds.listing.details import Details, show
from prefect_ds.listing.find import checkpoints
from prefect_ds.listing.pruned import Pruned
from prefect_ds.listing.pruning import prune
from prefect_ds.listing.verification import Verified, verify
from prefect_ds.marker_result_handler import MarkerResultHandler
from prefect_ds.object_result_handler import ObjectResultHandler
from prefect_ds.objects.picture import Picture
from prefect_ds.objects.registration import register_file_type
from prefect_ds.outputs import Outputs
from prefect_ds.pandas_result_handler import PandasResultHandler
from prefect_ds.path_template import PathTemplate
from prefect_ds.task_runner import DSTaskRunner
from prefect_ds.tasks import task

__all__ = [
    "Accepted",
    "Checkpoints",
    "DSFlowRunner",
    "DSTaskRunner",
    "Details",
    "Events",
    "Explanation",
    "FileResultHandler",
    "MarkerResultHandler",
    "ObjectResultHandler",
    "Outputs",
    "PandasResultHandler",
    "PathTemplate",
    "Picture",
    "Pruned",
    "Verified",
    "accept",
    "checkpoints",
    "explain",
    "prune",
    "read_events",
    "register_file_type",
    "show",
    "task",
    "verify",
]

# `checkpoints` is the call here, as `dask.delayed` is one. The room of the same name is
# imported by the full names of its modules: `from prefect_ds.checkpoints.x import y`.

# The one thing that importing changes in Prefect: `flow.run` understands
# `task_runner_cls`. A user's own class stays.
if (
    prefect.config.engine.flow_runner.default_class
    == "prefect.engine.flow_runner.FlowRunner"
):
    prefect.config.engine.flow_runner.default_class = (
        "prefect_ds.flow_runner.DSFlowRunner"
    )

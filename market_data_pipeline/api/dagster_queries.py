"""The GraphQL queries and mutations that the API sends to the Dagster webserver.

Belongs here: their text. Does not belong here: sending them, and what their results mean (`dagster_client`).
https://docs.dagster.io/api/graphql
"""

_RUN_FIELDS = """runId status startTime endTime creationTime pipelineName
  tags { key value } assetSelection { path } assetCheckSelection { assetKey { path } }"""
RUN = f"query($id: ID!) {{ runOrError(runId: $id) {{ __typename ... on Run {{ {_RUN_FIELDS} }} }} }}"
RUNS = f"""query($limit: Int!) {{ runsOrError(limit: $limit) {{ __typename
  ... on Runs {{ results {{ {_RUN_FIELDS} }} }} ... on PythonError {{ message }} }} }}"""
RUN_COUNT = """%s: runsOrError(filter: {statuses: [%s]}) { ... on Runs { count } }"""
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on Error { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
TERMINATE = """mutation($id: String!) { terminateRun(runId: $id, terminatePolicy: SAFE_TERMINATE) { __typename
  ... on TerminateRunFailure { message } ... on PythonError { message } } }"""
EVENTS = """query($id: ID!, $cursor: String) { logsForRun(runId: $id, afterCursor: $cursor, limit: 1000) { __typename
  ... on EventConnection { cursor hasMore events { __typename
    ... on MessageEvent { message level }
    ... on MaterializationEvent { partition assetKey { path } metadataEntries { ...entry } }
    ... on ExecutionStepOutputEvent { metadataEntries { ...entry } }
    ... on AssetCheckEvaluationEvent { evaluation { checkName success severity description assetKey { path } } }
    ... on ErrorEvent { error { message className causes { message className } } } } } } }
fragment entry on MetadataEntry { label ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue }
  ... on TextMetadataEntry { text } ... on PathMetadataEntry { path }
  ... on TableMetadataEntry { table { records } } }"""
ASSET = """assetNodeOrError(assetKey: {path: %s}) { __typename
  ... on AssetNode { partitionKeyConnection(limit: 1, ascending: true) { results } } }"""
ASSETS = "{ assetNodes { assetKey { path } } }"
BACKFILLS = """{ partitionBackfillsOrError(status: REQUESTED, limit: 1) {
  ... on PartitionBackfills { results { id } } ... on PythonError { message } } }"""
RELOAD = """mutation($location: String!) { reloadRepositoryLocation(repositoryLocationName: $location) { __typename
  ... on WorkspaceLocationEntry { locationOrLoadError { __typename ... on PythonError { message } } }
  ... on Error { message } } }"""
START_SENSOR = """mutation($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename
  ... on PythonError { message } } }"""
SENSOR = """query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { __typename
  ... on Sensor { sensorState { status } } ... on PythonError { message } } }"""
EXECUTIONS = """assetCheckExecutions(assetKey: {path: %s}, checkName: %s, limit: %d) { ...execution }"""
EXECUTION = """fragment execution on AssetCheckExecution {
  status timestamp evaluation { timestamp success severity description } }"""
VERSION = "{ version }"

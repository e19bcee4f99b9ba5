// What an event says on one line.
import { spoken } from "./parts.js";
import { span } from "./time.js";
import { failureLine, short } from "./values.js";

const SAYS = {
  WorkflowStarted: (a) => short(a.input),
  WorkflowCompleted: (a) => short(a.result ? [a.result] : []),
  WorkflowFailed: (a) => failureLine(a.failure),
  WorkflowTerminated: (a) => by(a.reason, a.identity),
  WorkflowCancelRequested: (a) => by(a.reason, a.identity),
  WorkflowBlocked: (a) => `${a.cause}: ${a.message.split("\n", 1)[0]}`,
  WorkflowContinuedAsNew: (a) => a.new_run_id,
  ActivityScheduled: (a) => short(a.input),
  ActivityStarted: (a) => `attempt ${a.attempt} on ${a.identity || a.worker_id}`,
  ActivityCompleted: (a) => short(a.result ? [a.result] : []),
  ActivityFailed: (a) => failureLine(a.failure),
  ActivityRetryScheduled: (a) => `attempt ${a.attempt}: ${failureLine(a.failure)}`,
  ActivityAttemptScheduled: (a) => `attempt ${a.attempt} (${a.reason})`,
  ActivityTimedOut: (a) => `${a.timeout_type.replaceAll("_", " ")}, attempt ${a.attempt}`,
  WorkflowSignaled: (a) => [a.signal_name, short(a.input)].join(" "),
  WorkflowUpdateAccepted: (a) => [a.update_name, short(a.input)].join(" "),
  WorkflowUpdateCompleted: (a) => (a.failure ? failureLine(a.failure) : short(a.result ? [a.result] : [])),
  ChildWorkflowInitiated: (a) => [a.workflow_type, a.workflow_id, short(a.input)].join(" "),
  ChildWorkflowStarted: (a) => a.run_id,
  ChildWorkflowCompleted: (a) => short(a.result ? [a.result] : []),
  ChildWorkflowFailed: (a) => failureLine(a.failure),
  ExternalSignalInitiated: (a) => `${a.signal_name} to ${a.target.workflow_id}`,
  ActivityPaused: (a) => by(a.reason, a.identity),
  ActivityUnpaused: (a) => by("", a.identity),
  ActivityReset: (a) => by("", a.identity),
  MarkerRecorded: (a) => [a.kind, a.name].join(" "),
  TimerStarted: (a) => span(a.duration_ms),
};
const GOOD = /Completed$|Fired$/;
const BAD = /Failed$|TimedOut$|Blocked$|Terminated$|Unreadable$|Rejected$/;
const OFF = /Cancel/;

function by(reason, identity) {
  return [reason, identity && `by ${identity}`].filter(Boolean).join(", ");
}

export function eventLine(event) {
  const says = SAYS[event.type];
  try {
    if (says) return says(event.attributes) ?? "";
  } catch {
    // A newer host's event may lack what is read here: it is shown whole in its details.
  }
  const payloads = event.attributes.input ?? event.attributes.details;
  return [event.attributes.signal_name ?? event.attributes.update_name ?? event.attributes.name ?? "", Array.isArray(payloads) ? short(payloads) : ""].filter(Boolean).join(" ");
}

export function eventKind(event) {
  if (event.type === "ActivityRetryScheduled") return "warn";
  if (BAD.test(event.type)) return "bad";
  if (GOOD.test(event.type)) return "good";
  return OFF.test(event.type) ? "off" : "plain";
}

export function eventTitle(event) {
  return spoken(event.type);
}

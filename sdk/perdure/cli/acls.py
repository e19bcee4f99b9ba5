"""`perdure acls`: what a role must be allowed on a broker, printed or granted."""

from __future__ import annotations

from typing import Annotated

import typer

from perdure import _assembly as assembly
from perdure.cli.output import echo, print_json, print_table, text
from perdure.cli.target import Broker, Namespace, Output, OutputFormat, target
from perdure_topics.kafka.access import access_settings
from perdure_topics.rights import ROLES, acl_commands, rights_of

Topics = Annotated[
    list[str] | None,
    typer.Option(
        "--topic", help="relay, triggers: a topic of yours that it writes, or reads. Repeatable."
    ),
]
Group = Annotated[
    str, typer.Option("--group", help="triggers: their name, which is their group's.")
]
CutEvents = Annotated[
    bool,
    typer.Option(
        "--cut-events",
        help="host: also the right to delete events, for a queue whose retention cuts them."
        " Kafka lets who has it delete their topic.",
    ),
]
CommandConfig = Annotated[
    str,
    typer.Option(
        "--command-config",
        help="For --script: the properties by which kafka-acls.sh reaches a secured listener."
        " admin.properties where the broker is reached by TLS or SASL.",
    ),
]


def acls(
    role: Annotated[str, typer.Argument(help=f"One of {', '.join(ROLES)}.")],
    principal: Annotated[str, typer.Option(help="Who is allowed, as Kafka names it: User:NAME.")],
    task_queue: Annotated[
        str, typer.Option("--task-queue", "-q", envvar="PERDURE_TASK_QUEUE", help="Task queue.")
    ],
    broker: Broker = None,
    namespace: Namespace = "default",
    grant: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--grant", help="Grant them on the broker.")
    ] = False,
    script: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--script", help="Print lines for kafka-acls.sh.")
    ] = False,
    topic: Topics = None,
    group: Group = "",
    cut_events: CutEvents = False,  # noqa: FBT002 - an option
    command_config: CommandConfig = "",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show what a process of a role needs on a broker with an authorizer, or grant it.

    A `perdure worker` that runs workflows and activities is host and worker in one.
    """
    try:
        rights = rights_of(
            role,
            namespace,
            task_queue,
            group=group,
            topics=topic or (),
            cuts_events=cut_events,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    address = target(broker, None)
    if grant:
        assembly.grant_rights(address, rights, principal)
    if script:
        secured = access_settings().get("security.protocol", "PLAINTEXT").upper() != "PLAINTEXT"
        way = command_config or ("admin.properties" if secured else "")
        for line in acl_commands(rights, principal, address, command_config=way):
            echo(line)
    elif output is OutputFormat.JSON:
        print_json([{**right._asdict(), "principal": principal} for right in rights])
    else:
        rows = [(text(r.resource), text(r.name), r.pattern, r.operation) for r in rights]
        print_table(("RESOURCE", "NAME", "PATTERN", "OPERATION"), rows)

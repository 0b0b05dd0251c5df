"""Traces of OpenTelemetry through EVQ: copy this file beside evq.py.

    queue = traced(Queue("redis://localhost:6379", group="mailer"))

From then on trigger() and schedule() are spans of the kind producer whose context travels in the
event's headers, and each handler runs in a span of the kind consumer, a child of the producer's.
Needs opentelemetry-api; where spans go is for your program to set up.
"""
from functools import wraps

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind


def traced(queue):
    """The same queue. Call it before handlers are registered."""
    tracer, trigger, on = trace.get_tracer("evq"), queue.trigger, queue.on
    about_queue = {"messaging.system": "evq", "messaging.destination.name": queue.ring}

    def send(key, payload, type=None, headers=None, **about):
        attributes = {**about_queue, "messaging.operation.type": "send"}
        with tracer.start_as_current_span(
                f"send {queue.ring}", kind=SpanKind.PRODUCER, attributes=attributes) as span:
            headers = dict(headers or {})
            propagate.inject(headers)  # traceparent, and tracestate if there is one
            partition, id = trigger(key, payload, type=type, headers=headers, **about)
            span.set_attribute("messaging.destination.partition.id", str(partition))
            if "due" not in about:  # else it is a ticket, and the event gets its id later
                span.set_attribute("messaging.message.id", id)
            return partition, id

    def on_traced(*types):
        if types and callable(types[0]):  # @queue.on without parentheses
            return on_traced()(*types)

        def register(handler):
            @wraps(handler)
            def process(event):
                attributes = {
                    **about_queue, "messaging.operation.type": "process",
                    "messaging.consumer.group.name": queue.names[3],
                    "messaging.destination.partition.id": str(event.lease.partition),
                    "messaging.message.id": event.id, "evq.attempt": event.attempt}
                # An exception is recorded, and goes on to the queue: that is the NACK.
                with tracer.start_as_current_span(
                        f"process {queue.ring}", context=propagate.extract(event.headers),
                        kind=SpanKind.CONSUMER, attributes=attributes):
                    handler(event)
            on(*types)(process)
            return handler
        return register

    queue.trigger, queue.on = send, on_traced
    return queue

"""The body of a SendEmail call with raw content: what is asked of SES, as JSON octets.

Knows the wire form of the SES API v2, 2019-09-27. Does not know endpoints, credentials or files.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from typing import Any, Final

from relay.ports import Consignment
from relay.ses.frame import Frame

CONTENT_TYPE: Final = "application/json"

_END: Final = '"}}}'


def frame(consignment: Consignment) -> Frame:
    """Return the request up to where the encoded content stands, and what follows it.

    FromEmailAddress is never given: SES would write it over the From field. The reverse-path is
    where feedback goes, which for the null one is what the content says. What authorises the one
    address or the other is its own ARN, or else that of the source, as in v1.
    """
    route, reverse_path = consignment.route, consignment.mail.envelope.reverse_path
    asked: dict[str, Any] = {}
    if from_arn := route.from_arn or route.source_arn:
        asked["FromEmailAddressIdentityArn"] = from_arn
    asked["Destination"] = {"ToAddresses": [str(one) for one in consignment.recipients]}
    if reverse_path is not None:
        asked["FeedbackForwardingEmailAddress"] = str(reverse_path)
        if feedback_arn := route.return_path_arn or route.source_arn:
            asked["FeedbackForwardingEmailAddressIdentityArn"] = feedback_arn
    if consignment.tags:
        asked["EmailTags"] = [{"Name": name, "Value": value} for name, value in consignment.tags]
    if route.configuration_set:
        asked["ConfigurationSetName"] = route.configuration_set
    if route.tenant:
        asked["TenantName"] = route.tenant
    if route.contact_list:
        topic = {"TopicName": route.topic} if route.topic else {}
        asked["ListManagementOptions"] = {"ContactListName": route.contact_list} | topic
    # Last, so that a large one can be written as it is read.
    asked["Content"] = {"Raw": {"Data": ""}}
    before = json.dumps(asked).removesuffix(_END)
    return Frame(before.encode("ascii"), _END.encode("ascii"), encode)


def encode(octets: bytes) -> bytes:
    """Return content in base64, none of which JSON has to quote."""
    return b2a_base64(octets, newline=False)

"""Broken files, each with everything that is said of it: what, where, and nothing that follows."""

from __future__ import annotations

import pytest

from tests.unit.config.written import complaints

ENVIRON = {"PORT": "x", "AUTH": "no", "NETWORK": "10.0.0.0/8", "RATE": "5000"}

NOTHING = """\
# Everything is commented out.
#listeners:
"""

NOTHING_SAYS = """\
1:1: listeners: nothing would be accepted: configure at least one listener
1:1: senders: nothing would be accepted: configure at least one sender
1:1: ses.region: is missing, and neither AWS_REGION nor AWS_DEFAULT_REGION is set
"""

MISSPELT = """\
hostnam: relay.example.com
listners:
  - {name: submission, adress: "0.0.0.0:587", port: 587}
senders:
  - nmae: billing
    form: ["@example.com"]
    login: billing
    password: hunter2
    rate: 10/s
    configuration_set: billing
    colour: red
metrics: "127.0.0.1:9587"
region: eu-west-1
"""

MISSPELT_SAYS = """\
1:1: hostnam: unknown key; did you mean 'hostname'?
2:1: listners: unknown key; did you mean 'listeners'?
5:5: senders[0].nmae: unknown key; did you mean 'name'?
6:5: senders[0].form: unknown key; did you mean 'from'?
8:5: senders[0].password: unknown key: the relay keeps no passwords; give secret_hash what `relay secret hash` prints
9:5: senders[0].rate: unknown key; did you mean 'limits.rate'?
10:5: senders[0].configuration_set: unknown key; did you mean 'ses.configuration_set'?
11:5: senders[0].colour: unknown key; known here: name, login, secret_hash, token_hash, secret_file, certificates, networks, from, to, redirect_all, rewrite, line_endings, limits, priority, accept, patience, ses, ses_headers, suppression, circuit, callback
12:1: metrics: unknown key; did you mean 'http.metrics'?
13:1: region: unknown key; did you mean 'ses.region'?
"""

UNITS = """\
hostname: relay_1.example.com
listeners:
  - name: legacy
    address: 10.0.0.5:smtp
    tls: off
    auth: off
    max_connections: many
senders:
  - name: printers
    networks: [10.20.0.0/16]
    from: [scanner@example.com]
    limits: {rate: 10, burst: 0, message_size: 40MB}
ses: {region: eu-west-1}
spool: {lifetime: 4, retry: {first: 30, ceiling: 1:00}, min_free: 0.1, unsafe: no}
http: {metrics: 9587, admin: admin.sock}
log: {level: verbose, format: text}
"""

UNITS_SAYS = """\
1:11: hostname: 'relay_1.example.com' is not a domain name, such as relay.example.com
4:14: listeners[0].address: '10.0.0.5:smtp' is not an address and port, such as 0.0.0.0:587, [::]:25, localhost:25
7:22: listeners[0].max_connections: 'many' is not a whole number, such as 1000
12:20: senders[0].limits.rate: 10 is not a rate: write a number per s, min, h or day, such as 10/s
12:31: senders[0].limits.burst: 0 is zero: the least is 1
12:48: senders[0].limits.message_size: '40MB' is more than Amazon SES takes: it refuses raw messages over 40000000 octets, of which the relay's own header fields need some; at most 39995904 octets are left
14:19: spool.lifetime: 4 is not a duration: write a number and ms, s, m, h or d, such as 90s
14:37: spool.retry.first: 30 is not a duration: write a number and ms, s, m, h or d, such as 90s
14:50: spool.retry.ceiling: '1:00' is not a duration: write a number and ms, s, m, h or d, such as 90s
14:67: spool.min_free: 0.1 is not a percentage: write a number and %, such as 10%
14:80: spool.unsafe: 'no' is neither true nor false
15:17: http.metrics: 9587 is a number, not an address: if it is meant, quote it
15:30: http.admin: 'admin.sock' is not an absolute path: start it with '/'
16:14: log.level: 'verbose' is not one of debug, info, warning, error
16:31: log.format: 'text' is not one of auto, json, console
"""

OPEN = """\
hostname: relay.example.com
listeners:
  - {name: public, address: "0.0.0.0:25", tls: off, auth: off}
  - {name: plain, address: "0.0.0.0:587", tls: off}
  - {name: local, address: "10.0.0.5:2525", tls: off, auth: optional, auth_without_tls: loopback}
senders:
  - {name: anybody, from: ["@example.com"]}
  - {name: nobody, login: nobody, from: ["@example.com"]}
ses: {region: eu-west-1}
"""

OPEN_SAYS = """\
3:59: listeners[0].auth: with auth: off a client is known by its network, and no sender has networks
4:48: listeners[1].tls: passwords would cross the network in clear: use starttls-required or implicit, or auth: off, or, for clients on this machine, auth_without_tls: loopback
5:61: listeners[2].auth: with auth: optional a client is known by its network, and no sender has networks
5:89: listeners[2].auth_without_tls: loopback lets nobody log in here: no client reaches this address over loopback, as it would 127.0.0.1
7:5: senders[0]: can never be recognised: give it a login, networks, or certificates
8:27: senders[1].login: nothing to check its password against: give one of secret_hash, token_hash, secret_file
"""

SHAPES = """\
hostname: [relay.example.com]
listeners:
  name: submission
  address: "0.0.0.0:587"
tls: yes
senders:
  - billing
  - {name: [a], login: {b: c}, from: a@example.com, networks: 10.0.0.0/8, limits: 10/s}
  -
ses: {accounts: [main]}
spool: []
feedback: {sns: topics}
"""

SHAPES_SAYS = """\
1:11: hostname: a list is not a domain name
3:3: listeners: must be a list: write [a, b], or one '- a' per line below it
5:6: tls: must be a mapping: write 'key: value' pairs, indented below it
7:5: senders[0]: must be a mapping: write 'key: value' pairs, indented below it
8:12: senders[1].name: a list is not a name
8:24: senders[1].login: a mapping is not a login
8:38: senders[1].from: must be a list: write [a, b], or one '- a' per line below it
8:63: senders[1].networks: must be a list: write [a, b], or one '- a' per line below it
8:83: senders[1].limits: must be a mapping: write 'key: value' pairs, indented below it
9:4: senders[2]: can never be recognised: give it a login, networks, or certificates
9:4: senders[2].from: this sender could write as nobody: list the addresses or domains it sends from
9:4: senders[2].name: is missing
10:17: ses.accounts: must be a mapping: write 'key: value' pairs, indented below it
11:8: spool: must be a mapping: write 'key: value' pairs, indented below it
12:17: feedback.sns: must be a mapping: write 'key: value' pairs, indented below it
"""

TWICE = """\
hostname: relay.example.com
tls: {certificate: chain.pem, key: key.pem}
listeners:
  - {name: a, address: "0.0.0.0:25", auth: optional}
  - {name: a, address: "127.0.0.1:25"}
  - {name: b, address: "[::]:25"}
  - {name: b, address: "127.0.0.1:9587"}
senders:
  - name: x
    login: app
    token_hash: sha256:0000000000000000000000000000000000000000000000000000000000000000
    networks: [10.0.0.0/8, 10.1.0.0/16]
    from: ["@example.com"]
  - name: x
    login: app
    token_hash: sha256:0000000000000000000000000000000000000000000000000000000000000000
    secret_file: app.secret
    networks: [10.1.0.0/16, 10.2.0.0/16]
    from: ["@example.com"]
    from: ["@example.org"]
ses: {region: eu-west-1}
"""

TWICE_SAYS = """\
5:12: listeners[1].name: 'a' is taken by listeners[0]
5:24: listeners[1].address: 127.0.0.1:25 is taken by listeners[0].address (0.0.0.0:25)
7:12: listeners[3].name: 'b' is taken by listeners[2]
7:24: listeners[3].address: 127.0.0.1:9587 is taken by http.metrics (127.0.0.1:9587)
14:11: senders[1].name: 'x' is taken by senders[0]
15:12: senders[1].login: 'app' is taken by senders[0]
17:18: senders[1].secret_file: only one of token_hash, secret_file can be what the login is checked against
18:16: senders[1].networks[0]: 10.1.0.0/16 already names the sender 'x'; a client there would be either
20:5: senders[1].from: this key was given already, in line 19
"""

ACCOUNTS = """\
hostname: relay.example.com
listeners:
  - {name: legacy, address: "10.0.0.5:25", tls: off, auth: off}
senders:
  - name: a
    networks: [10.20.0.0/16]
    from: ["@example.com"]
    ses: {account: eu, tags: {"ses:x": a, relay-id: b, team: 7, "a b": c, ok: "d e"}}
  - name: b
    networks: [10.30.0.0/16]
    from: ["@example.com"]
    ses: {account: asia, configuration_set: my set}
  - name: c
    networks: [10.40.0.0/16]
    from: ["@example.com"]
    limits: {message_size: 25MiB}
    ses: {account: staging, tenant: acme, from_arn: "arn:aws:sns:eu-west-1:1:x"}
ses:
  region: eu-west-1
  accounts:
    eu:
    us: {region: us, max_send_rate: fast}
    "a b": {region: ireland}
    staging: {region: eu-west-1, endpoint_url: "http://user:hunter2@simulator/", api: v1}
    other: {region: eu-west-1, api: v3}
    role: {region: eu-west-1, external_id: x y, session_name: relay}
    arn: {region: eu-west-1, role_arn: relay, external_id: a}
"""

ACCOUNTS_SAYS = """\
8:31: senders[0].ses.tags.?: 'ses:x' is not a tag: names that start with 'ses:' belong to Amazon SES
8:43: senders[0].ses.tags.relay-id: 'relay-id' is not free: the relay itself sets relay-id, relay-node, relay-sender
8:62: senders[0].ses.tags.team: 7 is a number, not a tag value: if it is meant, quote it
8:65: senders[0].ses.tags.?: 'a b' is not legal in a tag: Amazon SES allows letters, digits, '-' and '_', at most 256
8:79: senders[0].ses.tags.ok: 'd e' is not legal in a tag: Amazon SES allows letters, digits, '-' and '_', at most 256
12:20: senders[1].ses.account: there is no account 'asia'; there is eu, us, staging, other, role, arn
12:45: senders[1].ses.configuration_set: 'my set' is not a name: letters, digits, '-' and '_' are allowed, at most 64
16:28: senders[2].limits.message_size: is more than v1 of the SES API takes, and ses.accounts.staging.api is v1: at most 10481664 octets (10236KiB)
17:37: senders[2].ses.tenant: is known to v2 of the SES API only, and ses.accounts.staging.api is v1
17:53: senders[2].ses.from_arn: 'arn:aws:sns:eu-west-1:1:x' is not the ARN of an SES identity, such as arn:aws:ses:eu-west-1:123456789012:identity/example.com
21:8: ses.accounts.eu.region: is missing, and neither AWS_REGION nor AWS_DEFAULT_REGION is set
22:18: ses.accounts.us.region: 'us' is not an AWS region, such as eu-west-1
22:37: ses.accounts.us.max_send_rate: 'fast' is not a rate: write a number per s, min, h or day, such as 10/s; or write auto
23:5: ses.accounts.?: 'a b' is not a name: letters, digits, '-' and '_' are allowed, at most 64
23:21: ses.accounts.?.region: 'ireland' is not an AWS region, such as eu-west-1
24:48: ses.accounts.staging.endpoint_url: the value is not an endpoint: write http(s)://host or http(s)://host:port and nothing more
25:37: ses.accounts.other.api: 'v3' is not one of auto, v1, v2
26:44: ses.accounts.role.external_id: 'x y' is not an external id: 2 to 1224 letters, digits and any of '_+=,.@:/-' are allowed
26:63: ses.accounts.role.session_name: has no meaning without role_arn
27:40: ses.accounts.arn.role_arn: 'relay' is not the ARN of an IAM role, such as arn:aws:iam::123456789012:role/relay
27:60: ses.accounts.arn.external_id: 'a' is not an external id: 2 to 1224 letters, digits and any of '_+=,.@:/-' are allowed
"""

SENDERS = """\
hostname: relay.example.com
tls: {certificate: chain.pem}
listeners:
  - {name: submission, address: "0.0.0.0:587"}
senders:
  - name: two words
    login: two words
    secret_hash: hunter2
    from: [example.com, "*@example.com", "@", ""]
    suppression: bounce
    priority: urgent
  - name: both
    login: both
    token_hash: sha256:0000
    secret_hash: $2b$12$abcdefghijklmnopqrstuv
    from: []
  - name: mask
    networks: [10.0.0.5/8, 10.0.0.0/255.0.0.0, "::ffff:10.0.0.0/104", 5, ~]
    secret_file: mask.secret
    from: ["@example.com"]
    limits: {burst: 5, over_limit: refuse}
ses: {region: eu-west-1}
"""

SENDERS_SAYS = """\
2:6: tls.key: is missing
6:11: senders[0].name: 'two words' is not a name: letters, digits, '-' and '_' are allowed, at most 64
7:12: senders[0].login: 'two words' is not a login: printable ASCII without spaces, at most 255 characters
8:18: senders[0].secret_hash: the value is not an argon2id hash: make one with `relay secret hash`
9:12: senders[0].from[0]: 'example.com' is not an address or domain to send from: write user@example.com, @example.com, or @.example.com for all its subdomains
9:25: senders[0].from[1]: '*@example.com' is not how a domain is written here: leave the '*' out
9:42: senders[0].from[2]: '@' is not an address or domain to send from: write user@example.com, @example.com, or @.example.com for all its subdomains
9:47: senders[0].from[3]: '' is not an address or domain to send from: write user@example.com, @example.com, or @.example.com for all its subdomains
10:18: senders[0].suppression: 'bounce' is not one of reject, drop, ignore
11:15: senders[0].priority: 'urgent' is not one of transactional, bulk
14:17: senders[1].token_hash: the value is not 'sha256:' and 64 hexadecimal digits: make one with `relay secret token`
15:18: senders[1].secret_hash: the value is not an argon2id hash: make one with `relay secret hash`
16:11: senders[1].from: this sender could write as nobody: list the addresses or domains it sends from
18:16: senders[2].networks[0]: '10.0.0.5/8' is an address inside a network; write 10.0.0.0/8 for the whole of it
18:28: senders[2].networks[1]: '10.0.0.0/255.0.0.0' is not a network, such as 10.20.0.0/16 or 2001:db8::/32
18:48: senders[2].networks[2]: '::ffff:10.0.0.0/104' would never match: clients with such addresses count as IPv4, write that
18:71: senders[2].networks[3]: 5 is a number, not a network: if it is meant, quote it
18:74: senders[2].networks[4]: an empty value is not a network
19:18: senders[2].secret_file: has no use without a login
19:18: senders[2].secret_file: the file cannot be read: No such file or directory (looked for in /etc/ses-relay)
21:21: senders[2].limits.burst: has no meaning without a rate
21:36: senders[2].limits.over_limit: has no meaning without a rate or recipients
"""

FRONT = """\
hostname: relay.example.com
trace_headers: some
tls: {certificate: [rsa.pem, 5], key: [rsa.key, ~], profile: strong}
listeners:
  - name: a
    address: "10.0.0.5:25"
    tls_profile: tls1.3
    certificate: 7
    key: {file: a.key}
    client_ca: [ca.pem]
    line_endings: fix
    long_lines: wrap
    proxy_protocol: {trusted: [], version: 2}
    extensions_off: [pipelining, STARTTLS, 8BITMIME]
  - name: b
    address: "10.0.0.5:26"
    certificate: []
    proxy_protocol: true
    trusted: [10.0.0.8/32]
  - {name: c, address: "10.0.0.5:27", proxy_protocol: {trusted: [10.0.0.9/8]}, extensions_off: SIZE}
senders:
  - name: x
    certificates: ["*.example.com", 10.0.0.5, "urn:x:Y", a b]
    from: ["@example.com"]
    to: {allow: [], deny: [example.com]}
    redirect_all: staging
    rewrite: {when: never, reverse_path: root, from: "a@b.example, c@d.example", keep_original: no}
    line_endings: fix
    limits: {recipients: 10/s, recipients_per_message: 1001, queue: {messages: 0, size: 0}}
  - name: y
    networks: [10.20.0.0/16]
    from: ["@example.com"]
    to: {allow: "*@example.com"}
    redirect_all: staging@[10.0.0.1]
    rewrite: {reverse_path: "x@[10.0.0.1]", from: Scanner, keep: true}
    limits: {recipients: [5000, 10/h], queue: 25%}
    messages: 7
ses: {region: eu-west-1}
"""

FRONT_SAYS = """\
2:16: trace_headers: 'some' is not one of full, minimal, none
3:30: tls.certificate[1]: 5 is a number, not a path: if it is meant, quote it
3:49: tls.key[1]: an empty value is not a path
3:62: tls.profile: 'strong' is not one of modern, intermediate, legacy
7:18: listeners[0].tls_profile: 'tls1.3' is not one of modern, intermediate, legacy
8:18: listeners[0].certificate: 7 is a number, not a path: if it is meant, quote it
9:10: listeners[0].key: a mapping is not a path
10:16: listeners[0].client_ca: a list is not a path
11:19: listeners[0].line_endings: 'fix' is not one of reject, normalize
12:17: listeners[0].long_lines: 'wrap' is not one of pass, reject
13:31: listeners[0].proxy_protocol.trusted: nobody could connect here: list the networks of the proxies
13:35: listeners[0].proxy_protocol.version: unknown key; known here: trusted
14:22: listeners[0].extensions_off[0]: 'pipelining' is not one of PIPELINING, 8BITMIME, SIZE, CHUNKING, ENHANCEDSTATUSCODES, LIMITS
14:34: listeners[0].extensions_off[1]: 'STARTTLS' is not one of PIPELINING, 8BITMIME, SIZE, CHUNKING, ENHANCEDSTATUSCODES, LIMITS
18:21: listeners[1].proxy_protocol: must be a mapping: write 'key: value' pairs, indented below it
19:5: listeners[1].trusted: unknown key; did you mean 'proxy_protocol.trusted'?
20:66: listeners[2].proxy_protocol.trusted[0]: '10.0.0.9/8' is an address inside a network; write 10.0.0.0/8 for the whole of it
20:96: listeners[2].extensions_off: must be a list: write [a, b], or one '- a' per line below it
23:20: senders[0].certificates[0]: '*.example.com' stands for many names: write each, as the certificates have them
23:37: senders[0].certificates[1]: '10.0.0.5' is not a name a certificate is known by: write a DNS name, an e-mail address or a URI of its subjectAltName
23:58: senders[0].certificates[3]: 'a b' is not a name a certificate is known by: write a DNS name, an e-mail address or a URI of its subjectAltName
25:17: senders[0].to.allow: this sender could write to nobody: list addresses or domains, or leave it out
25:28: senders[0].to.deny[0]: 'example.com' is not an address or domain to send to: write user@example.com, @example.com, or @.example.com for all its subdomains
26:19: senders[0].redirect_all: 'staging' is not a mail address, such as user@example.com
27:21: senders[0].rewrite.when: 'never' is not one of unauthorised, always
27:42: senders[0].rewrite.reverse_path: 'root' is not a mail address, such as user@example.com
27:54: senders[0].rewrite.from: 'a@b.example, c@d.example' names several authors: write one
27:97: senders[0].rewrite.keep_original: 'no' is neither true nor false
28:19: senders[0].line_endings: 'fix' is not one of reject, normalize
29:26: senders[0].limits.recipients: '10/s' is over too short a time for recipients: write a number per h or day
29:56: senders[0].limits.recipients_per_message: 1001 is more than the relay takes in one message: 1000 at most
29:80: senders[0].limits.queue.messages: 0 is zero: the least is 1
29:89: senders[0].limits.queue.size: 0 is zero, so that nothing could wait: the least is 1
33:17: senders[1].to.allow: must be a list: write [a, b], or one '- a' per line below it
34:19: senders[1].redirect_all: 'staging@[10.0.0.1]' has no domain name: Amazon SES sends to and from domain names only
35:29: senders[1].rewrite.reverse_path: 'x@[10.0.0.1]' has no domain name: Amazon SES sends to and from domain names only
35:51: senders[1].rewrite.from: 'Scanner' is not an author, such as Scanner <scanner@example.com>: an address is not a mailbox of RFC 5321
35:60: senders[1].rewrite.keep: unknown key; known here: when, reverse_path, from, keep_original
36:27: senders[1].limits.recipients[0]: 5000 is not a rate: write a number per h or day, such as 20000/day
36:47: senders[1].limits.queue: must be a mapping: write 'key: value' pairs, indented below it
37:5: senders[1].messages: unknown key; known here: name, login, secret_hash, token_hash, secret_file, certificates, networks, from, to, redirect_all, rewrite, line_endings, limits, priority, accept, patience, ses, ses_headers, suppression, circuit, callback
"""

FEEDBACK = """\
hostname: relay.example.com
listeners:
  - {name: legacy, address: "10.0.0.5:25", tls: off, auth: off}
senders:
  - {name: printers, networks: [10.20.0.0/16], from: ["@example.com"]}
ses: {region: eu-west-1}
spool: {lifetime: 20m, retry: {first: 30m, ceiling: 10m}, history: 6d}
feedback:
  sns:
    topics: [ses-feedback, "arn:aws:sns:eu-west-1:123456789012:a.fifo"]
    confirm: always
http: {webhook: "*:8025"}
"""

FEEDBACK_SAYS = """\
7:19: spool.lifetime: is over before the first retry (spool.retry.first)
7:39: spool.retry.first: is longer than spool.retry.ceiling, the longest wait
7:68: spool.history: is shorter than spool.keep_failed: mail would be there of which nothing is known
10:14: feedback.sns.topics[0]: 'ses-feedback' is not the ARN of an SNS topic, such as arn:aws:sns:eu-west-1:123456789012:feedback
10:28: feedback.sns.topics[1]: 'arn:aws:sns:eu-west-1:123456789012:a.fifo' is a FIFO topic: Amazon SES publishes to standard topics only
11:14: feedback.sns.confirm: 'always' is not one of auto, manual
12:17: http.webhook: '*:8025' does not start with an IP address or a host name; for every address write 0.0.0.0 or [::]
"""

ENVIRONMENT = """\
hostname: ${HOSTNAME_OF_RELAY}
listeners:
  - {name: legacy, address: "${HOST:-10.0.0.5}:${PORT}", tls: off, auth: "${AUTH}"}
senders:
  - name: printers
    networks: ["${NETWORK}", "${NETWORK:-${OTHER}}"]
    from: ["${FROM"]
    limits: {rate: "${RATE}"}
    login: "${LOGIN:-}"
ses: {region: "${REGION-eu-west-1}"}
"""

ENVIRONMENT_SAYS = """\
1:11: hostname: the environment variable HOSTNAME_OF_RELAY is not set; set it, or give a default with ${HOSTNAME_OF_RELAY:-default}
3:29: listeners[0].address: the value of ${HOST}, ${PORT} is not an address and port, such as 0.0.0.0:587, [::]:25, localhost:25
3:74: listeners[0].auth: the value of ${AUTH} is not one of required, optional, off
6:30: senders[0].networks[1]: the default in ${NAME:-default} is taken as it stands and cannot hold another ${
7:12: senders[0].from[0]: '${' must be followed by a name and '}', as in ${NAME} or ${NAME:-default}; write $${ for the characters themselves
8:20: senders[0].limits.rate: the value of ${RATE} is not a rate: write a number per s, min, h or day, such as 10/s
10:15: ses.region: '${' must be followed by a name and '}', as in ${NAME} or ${NAME:-default}; write $${ for the characters themselves
"""

YAML = """\
hostname: &name relay.example.com
listeners:
  - &plain {name: legacy, address: "10.0.0.5:25", tls: off, auth: off}
  - {<<: *plain, name: other}
senders:
  - {name: printers, networks: [10.20.0.0/16], from: !!set {"@example.com"}}
  - {name: a, network:[10.30.0.0/16], from: ["@example.com"], [x]: y}
ses: {region: *nowhere, accounts: &all {main: *all}}
log: {level: off, level: info}
"""

YAML_SAYS = """\
4:6: listeners[1]: merge keys ('<<') are not accepted; write the keys out
6:54: senders[0].from: tags ('!') are not accepted; quote a value that starts with '!'
7:15: senders[1].network: unknown key; did you mean 'networks'?
7:63: senders[1]: a key must be plain text
8:15: ses.region: no anchor ('&') of this name stands above
8:47: ses.accounts.main: this alias stands inside what it is an alias of
9:14: log.level: 'off' is not one of debug, info, warning, error
9:19: log.level: this key was given already, in line 9
"""

LEFT_OVER = """\
hostname: relay.example.com
listeners:
  - {name: legacy, address: "10.0.0.5:25", tls: off, auth: off}
senders:
  - name: printers
    networks: [10.20.0.0/16]
    from: [@example.com]
"""

LEFT_OVER_SAYS = """\
7:12: a value cannot start with '@' unless it is quoted, as in "@example.com"
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(NOTHING, NOTHING_SAYS, id="nothing"),
        pytest.param(MISSPELT, MISSPELT_SAYS, id="misspelt"),
        pytest.param(UNITS, UNITS_SAYS, id="units"),
        pytest.param(OPEN, OPEN_SAYS, id="open"),
        pytest.param(SHAPES, SHAPES_SAYS, id="shapes"),
        pytest.param(TWICE, TWICE_SAYS, id="twice"),
        pytest.param(ACCOUNTS, ACCOUNTS_SAYS, id="accounts"),
        pytest.param(SENDERS, SENDERS_SAYS, id="senders"),
        pytest.param(FRONT, FRONT_SAYS, id="front"),
        pytest.param(FEEDBACK, FEEDBACK_SAYS, id="feedback"),
        pytest.param(ENVIRONMENT, ENVIRONMENT_SAYS, id="environment"),
        pytest.param(YAML, YAML_SAYS, id="yaml"),
        pytest.param(LEFT_OVER, LEFT_OVER_SAYS, id="left_over"),
    ],
)
def test_a_broken_file_is_told_all_that_is_wrong_with_it(text: str, says: str) -> None:
    assert complaints(text, ENVIRON) == says.splitlines()

// Sends what the plan on standard input asks for; prints one line of JSON: the envelopes taken,
// or the refusal. Knows Nodemailer; what is to be sent, and what should come of it, it does not.
import nodemailer from "nodemailer";
import { text } from "node:stream/consumers";

const { transport, mails } = JSON.parse(await text(process.stdin));
const mailer = nodemailer.createTransport(transport);
try {
  // All at once: with a pool they share its connections, and wait for one.
  const taken = await Promise.all(
    mails.map(({ from, to, raw }) =>
      mailer.sendMail({ envelope: { from, to }, raw: Buffer.from(raw, "base64") }),
    ),
  );
  console.log(JSON.stringify({ taken: taken.map((one) => one.response) }));
} catch (error) {
  console.log(JSON.stringify({ refused: error.response ?? String(error), code: error.code }));
} finally {
  mailer.close();
}

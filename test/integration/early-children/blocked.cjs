// An application whose event loop is blocked for five seconds from its first line; then it says what its link did meanwhile.
const begun = Date.now()
while (Date.now() - begun < 5_000);
const { earlyPeer } = require('rdma-checkpoint')
const { linked, linkedAt, startedAt, links, connected, stepMs, attempts, partner, bootId } = earlyPeer().report()
const processStartedAt = performance.timeOrigin
process.send({
  begun,
  linked,
  linkedAt,
  startedAt,
  links,
  connected,
  stepMs,
  attempts,
  partner,
  bootId,
  processStartedAt,
})
// The link alone does not hold the process.
if (process.argv[2] === 'forgets') process.disconnect()
else process.on('disconnect', () => process.exit())

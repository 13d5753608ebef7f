// Ports for servers that cannot say which one they took.
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** @returns {Promise<number>} a port that nobody listens on now */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
      server.close(() => resolve(port))
    })
  })
}

/** @param {number} port @param {import('node:child_process').ChildProcess} server */
export async function untilAccepts(port, server) {
  for (let tries = 0; ; tries++) {
    const accepted = await new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1')
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false))
      socket.on('connect', () => socket.destroy())
    })
    if (accepted) return
    if (server.exitCode !== null) throw new Error(`the server ended with exit code ${server.exitCode}`)
    if (tries === 200) throw new Error('the server does not listen after 20 seconds')
    await sleep(100)
  }
}

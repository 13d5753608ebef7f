// For scripts that run in a network namespace of their own: a unit there, and its flows, which can be dropped in silence: no packet
// of them arrives any more, nobody is told, and new flows work.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

const ip = (...args) => execFileSync('ip', args)

/** @returns {Promise<{ address: string, controlPort: number, dataPort: number }>} of a unit that ends with this process */
export async function startUnit(bytes = '16MiB') {
  ip('link', 'set', 'lo', 'up')
  // Rules before the one for local addresses, which stands first.
  ip('rule', 'add', 'pref', '100', 'lookup', 'local')
  ip('rule', 'del', 'pref', '0')
  const main = new URL('../../../dist/cli/main.js', import.meta.url).pathname
  const serve = ['serve', '--medium', 'memory', '--bytes', bytes, '--listen', '127.0.0.1:0', '--json']
  const unit = spawn(process.execPath, [main, ...serve], { stdio: ['ignore', 'pipe', 'inherit'] })
  process.once('exit', () => unit.kill('SIGKILL'))
  const [line] = await once(createInterface({ input: unit.stdout }), 'line')
  const { address, dataAddresses } = JSON.parse(line)
  const portOf = (text) => Number(text.split(':').pop())
  return { address, controlPort: portOf(address), dataPort: portOf(dataAddresses[0]) }
}

/**
 * @param {number} port the unit's
 * @param {boolean} unitEnd of what the unit still has, instead of the client
 * @returns {number[]} the client's ports of established flows to it
 */
export function flowsTo(port, unitEnd = false) {
  const ports = []
  for (const row of readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1)) {
    const [, local, remote, state] = row.trim().split(/\s+/)
    const [from, to] = [local, remote].map((end) => Number.parseInt(end.split(':')[1], 16))
    if (state === '01' && (unitEnd ? from : to) === port) ports.push(unitEnd ? to : from)
  }
  return ports
}

/** @param {'both' | 'out' | 'in'} direction as the client sees it */
export function drop(ports, direction = 'both') {
  const ends = { both: ['sport', 'dport'], out: ['sport'], in: ['dport'] }[direction]
  for (const port of ports) {
    for (const end of ends) ip('rule', 'add', 'pref', '10', 'ipproto', 'tcp', end, String(port), 'blackhole')
  }
}

// etcd: one member, which syncs what it answers.
import path from 'node:path'
import { end, start } from '../scratch.js'
import { findPackage, findProgram, programVersion } from './find.js'
import { freePort, untilAccepts } from './port.js'

/** @type {import('./index.js').Contender} */
export const etcd = {
  name: 'etcd',
  kind: 'peer',
  client: new URL('etcd-client.js', import.meta.url),
  series: [{ name: 'etcd', works: ['durable'] }],
  /** A request of more than 1.5 MiB is refused. */
  takes: ({ bytes }) => bytes <= 1024 * 1024,
  async start({ folder, packages }) {
    const program = findProgram('etcd', 'apt-get install etcd-server')
    const { file, version } = findPackage('etcd3', packages)
    const [port, peerPort] = [await freePort(), await freePort()]
    const [client, peer] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${peerPort}`]
    const listen = ['--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer]
    const cluster = ['--initial-advertise-peer-urls', peer, '--initial-cluster', `default=${peer}`]
    const store = ['--data-dir', path.join(folder, 'etcd'), '--quota-backend-bytes', String(8 * 1024 ** 3)]
    const child = start(program, [...listen, ...cluster, ...store, '--log-level', 'error'], { stdio: 'ignore' })
    await untilAccepts(port, child)
    return {
      version: `${await programVersion(program, /Version: (\S+)/)}, etcd3 ${version}`,
      how: 'one member over loopback; put, up to 1 MiB',
      setUp: { module: file, address: client },
      stop: () => end(child),
    }
  },
}

// lmdb-js: a database in the process itself.
import { findPackage } from './find.js'

/** @type {import('./index.js').Contender} */
export const lmdb = {
  name: 'lmdb',
  kind: 'peer',
  client: new URL('lmdb-client.js', import.meta.url),
  series: [{ name: 'lmdb', works: ['visible', 'durable', 'read'] }],
  async start({ folder, packages }) {
    const { file, version } = findPackage('lmdb', packages)
    return {
      version,
      how: 'lmdb-js in the client’s process; visible is put with noSync, durable is put and flushed, read is get',
      setUp: { module: file, folder },
      stop: async () => undefined,
    }
  },
}

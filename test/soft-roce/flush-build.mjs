// flush-build.mjs -- the addon and the conformance suite against headers that have RDMA FLUSH, in a folder of their own: those of
// this machine, and what was built with them, are left alone.
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { checkout } from './vm.mjs'

const folder = join(checkout, 'build/soft-roce/flush')
export const addon = join(folder, 'tree/build/Release/rdma_checkpoint.node')

/** @param {string} root where usr/include has rdma-core's headers */
export function buildWithFlush(root) {
  const tree = join(folder, 'tree')
  mkdirSync(tree, { recursive: true })
  for (const name of ['native', 'binding.gyp', 'package.json']) {
    cpSync(join(checkout, name), join(tree, name), { recursive: true, preserveTimestamps: true })
  }
  if (!existsSync(join(tree, 'node_modules'))) symlinkSync(join(checkout, 'node_modules'), join(tree, 'node_modules'))
  const env = { ...process.env, CPLUS_INCLUDE_PATH: join(root, 'usr/include') }
  const options = { env, stdio: ['ignore', 'ignore', 'inherit'] }
  const found = execFileSync('node', [join(tree, 'native/build/gyp-inputs.cjs'), 'flush-verb'], {
    env,
    encoding: 'utf8',
  })
  if (found.trim() !== '1') throw new Error(`the headers in ${root}/usr/include have no RDMA FLUSH`)
  execFileSync('node', [join(tree, 'native/build/addon.mjs')], options)
  const make = ['-s', '-C', join(checkout, 'test/native'), `OUT=${join(folder, 'native')}`]
  execFileSync('make', [...make, 'TESTS=conformance_verbs fence_exactness'], options)
}

// Builds the addon into build/Release. --shadow and --asan build the test addons beside it.
// Also the way to build from source in an installed package:
//   npm install --no-save node-gyp@12 node-addon-api@8 && node node_modules/rdma-checkpoint/native/build/addon.mjs
import { spawn } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { localNodeDirectory } from './node-headers.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))

if (process.platform !== 'linux') {
  console.log(`rdma-checkpoint: no addon is built on ${process.platform}; the package imports, and works on Linux.`)
  process.exit(0)
}

const require = createRequire(import.meta.url)
for (const needed of ['node-gyp', 'node-addon-api']) {
  try {
    require.resolve(`${needed}/package.json`)
  } catch {
    console.error(
      `rdma-checkpoint: ${needed} is not installed. Run: npm install --no-save node-gyp@12 node-addon-api@8`,
    )
    process.exit(1)
  }
}

const environment = { ...process.env, JOBS: process.env.JOBS ?? 'max' }
// Warnings are errors for us, and never a reason why a user's newer compiler cannot build a release.
if (root.split(path.sep).includes('node_modules')) environment.RC_TOLERATE_WARNINGS ??= '1'
if (process.argv.includes('--shadow')) environment.RC_TEST_ADDON = '1'
if (process.argv.includes('--asan')) environment.RC_ASAN_ADDON = '1'

const nodeGyp = require.resolve('node-gyp/bin/node-gyp.js')
const command = [process.execPath, nodeGyp, 'configure', 'build', '--silent']
const nodeDirectory = process.env.npm_config_nodedir ?? localNodeDirectory()
if (nodeDirectory) command.push(`--nodedir=${nodeDirectory}`)

/**
 * Runs a build and says how far it is, now and then, instead of a line for each file; what a build that fails has said comes whole.
 * @returns its exit code; undefined where there is no such program
 */
function run([program, ...args]) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: root, env: environment, stdio: ['ignore', 'pipe', 'inherit'] })
    const output = []
    let compiled = 0
    let rest = ''
    child.stdout.setEncoding('utf8')
    child.stdout.on('data', (text) => {
      output.push(text)
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        if (!/^\s*CXX\(/.test(line)) continue
        if (compiled++ === 0) {
          console.log(
            `rdma-checkpoint: compiling the native addon with ${environment.JOBS === 'max' ? availableParallelism() : environment.JOBS} ` +
              'compilers at a time. The first time takes one to four minutes; later only what has changed is compiled.',
          )
        }
        if (compiled % 20 === 0) console.log(`rdma-checkpoint: ${compiled} files compiled`)
      }
    })
    child.on('error', () => resolve(undefined))
    child.on('close', (code) => {
      if (code !== 0) process.stdout.write(output.join(''))
      else if (compiled > 0) console.log(`rdma-checkpoint: the native addon is built (${compiled} files compiled)`)
      resolve(code ?? 1)
    })
  })
}

// Two builds in one folder would spoil each other: the second waits.
mkdirSync(path.join(root, 'build'), { recursive: true })
// The shadow addon is linked from objects of the addon, which its own rule knows nothing of: it is linked each time.
if (process.argv.includes('--shadow'))
  rmSync(path.join(root, 'build', 'Release', 'shadow', 'rdma_checkpoint_shadow.node'), { force: true })
const locked = ['flock', '--timeout', '1200', path.join(root, 'build', '.lock'), ...command]
let status = await run(locked)
if (status === undefined) status = await run(command)
// gyp's make also copies every addon to build/Release itself, where node-gyp-build could take the wrong one.
for (const name of ['shadow', 'asan'])
  rmSync(path.join(root, 'build', 'Release', `rdma_checkpoint_${name}.node`), { force: true })
process.exit(status ?? 1)

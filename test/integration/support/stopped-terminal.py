# Runs a command whose stdout and stderr are a terminal on which somebody has pressed Ctrl-S. Lines on stdin: "go" is Ctrl-Q,
# "stop" is Ctrl-S again. What the command writes goes to stdout; its process id comes first, in a line of its own.
import os, pty, subprocess, sys, termios, threading, tty

master, slave = pty.openpty()
tty.setraw(slave)
flow = {"stop": termios.TCOOFF, "go": termios.TCOON}
start = sys.argv[1]
termios.tcflow(slave, flow[start])
process = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=slave, stderr=slave)
print(process.pid, flush=True)


def copy():
    while True:
        try:
            os.write(1, os.read(master, 65536))
        except OSError:
            return


copier = threading.Thread(target=copy, daemon=True)
copier.start()


def steer():
    for line in sys.stdin:
        termios.tcflow(slave, flow[line.strip()])


threading.Thread(target=steer, daemon=True).start()
code = process.wait()
os.close(slave)
copier.join(2)
os._exit(code if code >= 0 else 128 - code)

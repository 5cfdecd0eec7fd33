from worker.local.realtime_server.server import main

main()

from worker.local.model_server import main

main()

"""What tests share: the services they run on, real threads, processes. No rules of the product."""

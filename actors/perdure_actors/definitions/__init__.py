"""What users define: workflows, activities and handlers, checked and registered."""

# A primary handed its role over while its archive refused a file, and finished the tries of before and then
# three more, four seconds in all, before it became a standby.
seed 330884
